"""Languages: what an answer in one is asked for with, and what one is recognised by.

A profile is a JSON file named by its tag; adding one adds the language.
"""
