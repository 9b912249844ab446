/**
 * The typed client of the guest agent. Every byte from the guest is hostile: what is read here has a bound, and what
 * breaks the rules ends the connection with a named error. Everything of a connection ends when it is disposed of.
 */
export { connectGuest, type ConnectOptions } from "./connect.js";
export type { GuestConnection, GuestEvents, LinkCounters } from "./connection.js";
