import unittest

from intervals import merged


class Merged(unittest.TestCase):
    def test_neighbours_are_joined(self):
        self.assertEqual(merged([(4, 6), (1, 3)]), [(1, 6)])

    def test_an_interval_inside_of_another_adds_nothing(self):
        self.assertEqual(merged([(1, 9), (2, 3)]), [(1, 9)])
