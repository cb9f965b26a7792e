"""Transfer: bytes between servers (GFS 3.2, 4.3).

peers.py              the other chunkservers, and the calls to them
signs.py              signs of life while an order is carried out that may take a minute
data_flow.py          pushes forwarded while they arrive; reads verified, then sent         3.2, 5.2
cloning.py            copying a chunk from other servers                                    4.3
mending.py            fetching what a replica has missed, or what rotted                    4.3, 5.2
"""
