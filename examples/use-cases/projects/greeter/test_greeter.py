import unittest

from greeter import answer


class Answer(unittest.TestCase):
    def test_it_greets(self):
        self.assertEqual(answer("/", "Hello.\n"), ("200 OK", "Hello.\n"))

    def test_it_says_that_it_can(self):
        self.assertEqual(answer("/health", ""), ("200 OK", "ok\n"))

    def test_nobody_is_anywhere_else(self):
        self.assertEqual(answer("/admin", "")[0], "404 Not Found")
