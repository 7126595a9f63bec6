import unittest

from hello.greeting import greeting


class GreetingTest(unittest.TestCase):
    def test_it_names_the_language(self):
        self.assertIn("python", greeting())
