#!/usr/bin/python3
"""Adds the numbers of a list."""
import sys


def tally(path):
    with open(path) as file:
        return sum(map(int, file))


if __name__ == "__main__":
    print(tally(sys.argv[1]))
