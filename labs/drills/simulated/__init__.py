"""Drills in runs that are decided by parameters, and so can be run again by whoever grades.

lying_disk.py  what a loss of power leaves
cords.py       one fault in one block: which is the worst
planted.py     find the planted bug from its timeline
rules.py       the rules that planted bugs take out, as the choices of a question
"""
