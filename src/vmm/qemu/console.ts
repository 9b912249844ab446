import { LIMITS } from "../../protocol/index.js";
import { CONSOLE_CHARDEV, CONSOLE_RING_BYTES } from "./argv.js";
import type { QmpClient } from "./qmp.js";

/** The end of a machine's console. Reading QEMU's ring buffer empties it, so the tail is kept here. */
export class ConsoleTail {
  #kept = Buffer.alloc(0);
  #draining: Promise<void> | undefined;

  /** Takes over what the ring buffer holds; one at a time. A machine that is gone adds nothing. */
  drain(qmp: QmpClient, timeoutMs: number): Promise<void> {
    this.#draining ??= this.#drain(qmp, timeoutMs).finally(() => {
      this.#draining = undefined;
    });
    return this.#draining;
  }

  get text(): string {
    return this.#kept.toString("utf8");
  }

  async #drain(qmp: QmpClient, timeoutMs: number): Promise<void> {
    const read = { device: CONSOLE_CHARDEV, size: CONSOLE_RING_BYTES, format: "base64" };
    // Base64: the guest decides the bytes, and QMP's own text form trips over invalid UTF-8.
    const text = await qmp.execute("ringbuf-read", read, timeoutMs).catch(() => undefined);
    if (typeof text !== "string") return;
    this.#kept = Buffer.concat([this.#kept, Buffer.from(text, "base64")]).subarray(-LIMITS.consoleTailBytes);
  }
}
