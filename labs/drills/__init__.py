"""Drills: what they are, and the drills themselves. Pure, but for what `live/` asks a cluster and `simulated/` runs.

    questions.py   questions, answers, what a try is worth      page.py       the Markdown that people read
    evidence.py    what a cluster said                          drill.py      a drill; judging an attempt
    catalogue.py   all of them                                  pages/        one page a drill
    live/          on a cluster of real processes               simulated/    in runs that are decided by a seed

To add a drill: write the page, a function for each question that finds the answer in the evidence, and a line in the
catalogue. A test holds pages and functions together.
"""
