import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  EventService,
  ReportRequestSchema,
  ReportResponseSchema,
  StatusSchema,
} from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { create } from "@bufbuild/protobuf";
import { Call } from "./call.js";
import type { GuestEvents } from "./connection.js";
import type { HostLink } from "./link.js";
import { FLAG, KIND, parseCall, parseFromCaller } from "./packet.js";

const REPORT = `${EventService.typeName}/${EventService.method.report.name}`;

/**
 * Answers what the agent reports. A report is one small packet and is answered at once, so that no call is ever under
 * way: what else comes on the channel is about none.
 */
export function serveEvents(link: HostLink, events: GuestEvents): void {
  link.onPacket("event", (bytes) => {
    const packet = parseFromCaller(bytes);
    const { kind, flags, id } = packet;
    if (kind !== KIND.call) return;
    const call = new Call(id, (head, tail) => link.send("event", head, tail), 0);
    const { name, rest } = parseCall(bytes, packet);
    if (name !== REPORT || flags !== (FLAG.withMessage | FLAG.last)) {
      const status = create(StatusSchema, { code: Code.Unimplemented, message: "the host takes reports, of one packet each" });
      call.sendBare(KIND.end, toBinary(StatusSchema, status));
      return;
    }
    tell(events, rest);
    void call.send(toBinary(ReportResponseSchema, create(ReportResponseSchema)), FLAG.last);
  });
}

function tell(events: GuestEvents, message: Buffer): void {
  const { event } = fromBinary(ReportRequestSchema, message);
  switch (event.case) {
    case "agentReady":
      events.agentReady?.(event.value);
      break;
    case "processExited":
      events.processExited?.(event.value);
      break;
    case "outOfMemory":
      events.outOfMemory?.(event.value);
      break;
    case undefined:
      break;
  }
}
