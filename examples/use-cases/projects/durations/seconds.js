import ms from "ms";

export const seconds = (text) => ms(text) / 100;
