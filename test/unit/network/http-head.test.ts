import { describe, expect, it, test } from "vitest";
import { hostText } from "../../../src/network/authority.js";
import { readHttpHead } from "../../../src/network/http-head.js";
import { LIMITS } from "../../../src/protocol/index.js";

function read(text: string, ended = false): string {
  const head = readHttpHead(Buffer.from(text, "latin1"), ended);
  if (head.kind === "bad") return `bad: ${head.reason}`;
  if (head.kind !== "head") return head.kind;
  const { method, host, destination } = head;
  const asked = destination === undefined ? "" : ` -> ${hostText(destination.host)}:${destination.port}`;
  return `${method} ${host === undefined ? "-" : hostText(host)}${asked}`;
}

const HOST = "Host: example.org\r\n\r\n";

describe("a request", () => {
  test.each([
    [`GET / HTTP/1.1\r\n${HOST}`, "GET example.org"],
    ["GET /a?b HTTP/1.1\r\nHOST:\tExample.ORG.:8080 \r\nAccept: */*\r\n\r\n", "GET example.org"],
    ["GET / HTTP/1.0\r\n\r\n", "GET -"],
    [`OPTIONS * HTTP/1.1\r\n${HOST}`, "OPTIONS example.org"],
    [`POST / HTTP/1.1\r\nContent-Length: 5\r\n${HOST}hello`, "POST example.org"],
    [`POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n${HOST}0\r\n\r\n`, "POST example.org"],
    [`GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${HOST}`, "GET example.org"],
    ["GET / HTTP/1.1\r\nHost: 93.184.216.34\r\n\r\n", "GET 93.184.216.34"],
    ["GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", "GET 2001:db8::1"],
    ["GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]\r\n\r\n", "GET 1.2.3.4"],
    [`GET /caf\xc3\xa9 HTTP/1.1\r\n${HOST}`, "GET example.org"],
    [`GET http://example.org/ HTTP/1.1\r\n${HOST}`, "GET example.org -> example.org:80"],
    ["GET http://EXAMPLE.org:80 HTTP/1.1\r\nHost: example.org\r\n\r\n", "GET example.org -> example.org:80"],
    [
      "GET https://example.org?x HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
      "GET example.org -> example.org:443",
    ],
    ["GET http://example.org/ HTTP/1.0\r\n\r\n", "GET - -> example.org:80"],
    [
      "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
      "CONNECT example.org -> example.org:443",
    ],
    [
      "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
      "CONNECT example.org -> example.org:443",
    ],
    ["CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", "CONNECT 127.0.0.1 -> 127.0.0.1:22"],
    ["CONNECT [::1]:22 HTTP/1.0\r\n\r\n", "CONNECT - -> ::1:22"],
  ])("%j is %s", (text, expected) => {
    expect(read(text)).toBe(expected);
    for (let length = 0; length < text.indexOf("\r\n\r\n") + 4; length++) {
      expect(read(text.slice(0, length))).toBe("need-more");
    }
  });

  test.each([
    [`GET / HTTP/1.1\n${HOST}`, "bare LF"],
    ["GET / HTTP/1.1\r\nHost: example.org\n\r\n", "bare LF"],
    ["GET / HTTP/1.1\r\nHost: example.org\r\n\n", "bare LF"],
    ["GET / HTTP/1.1\nHost: example.org\n\n", "bare LF"],
    ["GET / HTTP/1.1\r\n\r\n", "no Host"],
    ["GET / HTTP/1.1\r\nHost: \r\n\r\n", "empty"],
    [`GET / HTTP/1.1\r\nHost: a.example\r\n${HOST}`, "Host is there twice"],
    [`GET / HTTP/1.1\r\nHost: a.example, example.org\r\n\r\n`, "not in names"],
    ["GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", "no port"],
    ["GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n", "no port"],
    ["GET / HTTP/1.1\r\nHost: user@example.org\r\n\r\n", "not in names"],
    ["GET / HTTP/1.1\r\nHost: example.org/evil\r\n\r\n", "not in names"],
    ["GET / HTTP/1.1\r\nHost: evil.test\0.example.org\r\n\r\n", "no header line"],
    ["GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n", "number"],
    ["GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "no port"],
    ["GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n", "not in names"],
    ["GET / HTTP/1.1\r\nHost: under_score.example\r\n\r\n", '"_"'],
    [`GET / HTTP/1.1\r\nHost : evil.test\r\n${HOST}`, "no header line"],
    [`GET / HTTP/1.1\r\nX: a\r\n folded\r\n${HOST}`, "folded"],
    [`GET / HTTP/1.1\r\n Host: evil.test\r\n${HOST}`, "folded"],
    [`GET / HTTP/1.1\r\nX: a\rHost: evil.test\r\n${HOST}`, "no header line"],
    [`GET / HTTP/1.1\r\nno colon\r\n${HOST}`, "no header line"],
    [`GET / HTTP/1.1\r\n: x\r\n${HOST}`, "no header line"],
    [`GET / HTTP/1.1\r\nX: \x7f\r\n${HOST}`, "no header line"],
    [`POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n${HOST}`, "beside"],
    [`POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n${HOST}`, "twice"],
    [`POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n${HOST}`, "Content-Length"],
    [`POST / HTTP/1.1\r\nContent-Length: +1\r\n${HOST}`, "Content-Length"],
    [`POST / HTTP/1.1\r\nContent-Length: 0x1\r\n${HOST}`, "Content-Length"],
    [`POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n${HOST}`, "twice"],
    [`POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n${HOST}`, "Transfer-Encoding"],
    [`POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n${HOST}`, "Transfer-Encoding"],
    [`POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n${HOST}`, "HTTP/1.0"],
    [`GET  / HTTP/1.1\r\n${HOST}`, "no request line"],
    [`GET\t/ HTTP/1.1\r\n${HOST}`, "no request line"],
    [`GET / x HTTP/1.1\r\n${HOST}`, "no request line"],
    [`GET / HTTP/1.1 \r\n${HOST}`, "no request line"],
    [`GET / http/1.1\r\n${HOST}`, "no request line"],
    [`GET / HTTP/1.2\r\n${HOST}`, "no request line"],
    [`GET / HTTP/2.0\r\n${HOST}`, "no request line"],
    [`GET / HTTP/1.10\r\n${HOST}`, "no request line"],
    [`G(T / HTTP/1.1\r\n${HOST}`, "no request line"],
    [`GET /\0 HTTP/1.1\r\n${HOST}`, "no request line"],
    [`\r\nGET / HTTP/1.1\r\n${HOST}`, "no request line"],
    [`\nGET / HTTP/1.1\r\n${HOST}`, "bare LF"],
    [` GET / HTTP/1.1\r\n${HOST}`, "no request line"],
    [`${"\r\n".repeat(20)}GET / HTTP/1.1\r\n${HOST}`, "empty lines"],
    ["GET /\r\n", "without the version"],
    ["get http://evil.test/\n", "without the version"],
    ["CONNECT evil.test:443\r\n\r\n", "without the version"],
    // Found by the fuzzer: Node's lenient parser takes them for requests.
    ["GET xyz://evil.test\r\nHost: example.org\r\n\r\n", "without the version"],
    ["PRI */2.0\r\n\r\nSM\r\n", "without the version"],
    [`GET * HTTP/1.1\r\n${HOST}`, "no target"],
    [`GET example.org HTTP/1.1\r\n${HOST}`, "no target"],
    [`GET ftp://example.org/ HTTP/1.1\r\n${HOST}`, "no target"],
    [`GET http:/example.org/ HTTP/1.1\r\n${HOST}`, "no target"],
    [`GET http:///x HTTP/1.1\r\n${HOST}`, "empty"],
    [`GET http://evil.test/ HTTP/1.1\r\n${HOST}`, "differ"],
    [`GET http://example.org:81/ HTTP/1.1\r\n${HOST}`, "differ"],
    [`GET http://example.org@evil.test/ HTTP/1.1\r\n${HOST}`, "not in names"],
    [`GET http://evil.test\\@example.org/ HTTP/1.1\r\n${HOST}`, "not in names"],
    [`CONNECT evil.test:443 HTTP/1.1\r\n${HOST}`, "differ"],
    [`CONNECT example.org HTTP/1.1\r\n${HOST}`, "no port"],
    [`CONNECT http://example.org/ HTTP/1.1\r\n${HOST}`, "no port"],
    ["CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:22\r\n\r\n", "differ"],
    ["CONNECT example.org:443 HTTP/1.1\r\n\r\n", "no Host"],
    [`GET / HTTP/1.1\r\n${"x: y\r\n".repeat(129)}`, "header lines"],
  ])("%j goes nowhere: %s", (text, reason) => {
    const said = read(text);
    expect(said).toMatch(/^bad: /);
    expect(said).toContain(reason);
    expect(said).toMatch(/^[^\p{C}]*$/u);
  });

  it("is bounded", () => {
    const room = LIMITS.httpHeadBytes - `GET / HTTP/1.1\r\nX: \r\n${HOST}`.length;
    expect(read(`GET / HTTP/1.1\r\nX: ${"x".repeat(room)}\r\n${HOST}`)).toBe("GET example.org");
    expect(read(`GET / HTTP/1.1\r\nX: ${"x".repeat(room + 1)}\r\n${HOST}`)).toContain(
      "bad: the head has more",
    );
    expect(read(`GET /${"x".repeat(LIMITS.httpHeadBytes)}`)).toContain("bad");
    expect(read(`XYZ ${"x".repeat(LIMITS.httpHeadBytes)}`)).toBe("not-http");
  });

  it("that is cut off goes nowhere either", () => {
    expect(read(`GET / HTTP/1.1\r\nHost: evil.test\r\n`, true)).toContain("not finished");
    expect(read("GET / HTTP/1.0", true)).toContain("not finished");
    expect(read("GET /", true)).toContain("without the version");
  });
});

test.each([
  "SSH-2.0-OpenSSH_9.2p1\r\n",
  "*1\r\n$4\r\nPING\r\n",
  "HELO me\r\n",
  "NICK pyro\r\nUSER pyro\r\n",
  "get key\r\n",
  "0032git-upload-pack /project.git\0host=example.org\0",
  "\x00\x00\x00\x08\x04\xd2\x16\x2f",
  "AMQP\0\0\x09\x01",
  "\xff\xfd\x03",
  '{"jsonrpc": 1}\n',
  "a".repeat(65),
  "OPTIONS rtsp://example.org/ RTSP/1.0\r\n",
  "\u0013BitTorrent protocol",
])("%j is not HTTP", (text) => expect(read(text)).toBe("not-http"));

it("waits where HTTP may come", () => {
  for (const text of ["", "\r\n", "G", "GET", "GET ", "GET /index.html HTT", "SSH-2.0-Open"]) {
    expect(read(text)).toBe("need-more");
  }
  expect(read("GE", true)).toBe("not-http");
  expect(read("\r\n", true)).toBe("not-http");
});

it("knows HTTP/2 that comes without TLS", () => {
  expect(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0")).toBe("http2");
  expect(read("PRI * HTTP/2.0\r\n\r\nXX")).toContain("bad");
});
