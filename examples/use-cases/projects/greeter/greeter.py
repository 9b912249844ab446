#!/usr/bin/python3 -S
"""Answers with a greeting. /health says whether it can."""
import argparse
import socketserver
import sys

GREETINGS = "/usr/local/share/greeter/en.txt"


def answer(path, greeting):
    """Status and body of the answer to a path."""
    if path == "/health":
        return "200 OK", "ok\n"
    return ("200 OK", greeting) if path == "/" else ("404 Not Found", "nobody here\n")


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        print("asked for", path, file=sys.stderr, flush=True)
        status, body = answer(path, self.server.greeting)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.wfile.write((head + body).encode())


class Server(socketserver.TCPServer):
    allow_reuse_address = True


def main():
    parser = argparse.ArgumentParser("greeter")
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    with Server(("", given.port), Handler) as server:
        with open(GREETINGS) as file:
            server.greeting = file.read()
        print("greeter listens on", given.port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
