import unittest

from lefttrim import left_trim


class LeftTrim(unittest.TestCase):
    def test_it_trims_on_the_left(self):
        self.assertEqual(left_trim("  a "), "a ")
