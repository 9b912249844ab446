import { expect, it, test } from "vitest";
import { readClientHello } from "../../../src/network/client-hello.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { hello, message, realHello, records, serverName, vector } from "./hello.js";

const NAMED = hello([[10, Buffer.from([0, 2, 0, 29])], serverName("example.org")]);

it("reads the name in what real clients send, whole or in parts", async () => {
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const bytes = await realHello({ servername: "www.example.org", maxVersion });
    expect(readClientHello(bytes)).toEqual({ kind: "hello", sni: "www.example.org", ech: false });
    for (let length = 0; length < bytes.length; length++) {
      expect(readClientHello(bytes.subarray(0, length)).kind).toBe("need-more");
    }
  }
  expect(readClientHello(await realHello({}))).toEqual({ kind: "hello", sni: undefined, ech: false });
});

it("reads it across records, and does not mind what follows", () => {
  for (const size of [4, 7, 50, 200]) {
    const cut = hello([serverName("example.org")], size);
    expect(readClientHello(Buffer.concat([cut, Buffer.from([23, 3, 3, 0, 1, 0])]))).toMatchObject({
      sni: "example.org",
    });
  }
  expect(readClientHello(NAMED)).toEqual({ kind: "hello", sni: "example.org", ech: false });
  expect(readClientHello(hello(undefined))).toEqual({ kind: "hello", sni: undefined, ech: false });
  expect(readClientHello(hello([]))).toEqual({ kind: "hello", sni: undefined, ech: false });
});

it("tells that there may be a hidden hello", () => {
  const both = hello([serverName("example.org"), [0xfe0d, Buffer.alloc(100)]]);
  expect(readClientHello(both)).toEqual({ kind: "hello", sni: "example.org", ech: true });
  expect(readClientHello(hello([[0xffce, Buffer.alloc(9)]]))).toMatchObject({ ech: true });
});

test.each([
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n")],
  ["SSH", Buffer.from("SSH-2.0-x\r\n")],
  ["SSL 2", Buffer.from([0x80, 0x2e, 1, 3, 1])],
  ["an alert", Buffer.from([21, 3, 1, 0, 2, 1, 0])],
  ["another protocol that begins with 22", Buffer.from([22, 0, 0, 0])],
])("%s is not TLS", (_name, bytes) => expect(readClientHello(bytes)).toEqual({ kind: "not-tls" }));

const LIST = (...entries: Buffer[]): Buffer => vector(Buffer.concat(entries), 2);
const HOST = (name: string): Buffer => Buffer.concat([Buffer.from([0]), vector(Buffer.from(name), 2)]);

test.each<[string, Buffer, string]>([
  ["two server names", hello([[0, LIST(HOST("a.example"), HOST("b.example"))]]), "not one name"],
  ["a server name of another type", hello([[0, LIST(Buffer.from([1, 0, 1, 65]))]]), "not one name"],
  ["an empty name", hello([[0, LIST(HOST(""))]]), "not one name"],
  ["an empty list", hello([[0, LIST()]]), "not one name"],
  ["an empty extension", hello([[0, Buffer.alloc(0)]]), "not one name"],
  [
    "bytes behind the list",
    hello([[0, Buffer.concat([LIST(HOST("a.example")), Buffer.from([0])])]]),
    "not one name",
  ],
  [
    "a list that is longer than its extension",
    hello([[0, Buffer.from([0, 99, 0, 0, 1, 65])]]),
    "not one name",
  ],
  ["the extension twice", hello([serverName("a.example"), serverName("b.example")]), "twice"],
  [
    "any extension twice",
    hello([
      [5, Buffer.alloc(0)],
      [5, Buffer.alloc(0)],
    ]),
    "twice",
  ],
  ["a record without a byte", Buffer.from([22, 3, 1, 0, 0]), "0 bytes"],
  ["a record that is too long", Buffer.from([22, 3, 1, 0x40, 1]), "16385 bytes"],
  ["another message", Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]), "no ClientHello"],
  ["a hello without end", Buffer.from([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), "16777215 bytes"],
  ["nothing in the hello", records(Buffer.from([1, 0, 0, 0]), 100), "ends early"],
  ["a hello in many records", records(message([serverName("example.org")]), 1), "records"],
  [
    "an alert within",
    Buffer.concat([NAMED.subarray(0, 3), Buffer.from([0, 1, 1, 21, 3, 1])]),
    "another record",
  ],
  ["bytes behind the extensions", records(longer(message([serverName("a.example")])), 1000), "do not fit"],
])("%s is TLS that goes nowhere", (_name, bytes, reason) => {
  expect(readClientHello(bytes)).toMatchObject({
    kind: "bad",
    reason: expect.stringContaining(reason) as string,
  });
});

it("is bounded", () => {
  const largest = LIMITS.clientHelloBytes - message([[21, Buffer.alloc(0)]]).length + 4;
  expect(readClientHello(hello([[21, Buffer.alloc(largest)]])).kind).toBe("hello");
  expect(readClientHello(hello([[21, Buffer.alloc(largest + 1)]])).kind).toBe("bad");
});

/** With one byte more in the hello than its parts say. */
function longer(handshake: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from([1]),
    vector(Buffer.concat([handshake.subarray(4), Buffer.from([0])]), 3),
  ]);
}
