// The default theme without its web fonts: the reader's own are good, and nothing is fetched.
import DefaultTheme from "vitepress/theme-without-fonts";
import "./style.css";

export default DefaultTheme;
