"""Where tablets are: what clients, tablet servers and the tablet master must agree upon (BT 5.1).

The problem. A table is cut into tablets that move from server to server. A client has a row's key and wants the address
of the one server that has it, without asking a master.

The idea is the paper's, a tree of three levels:

    a file of the lock service    says where the root tablet is
    the root tablet               has a row for each tablet of the METADATA table
    METADATA tablets              have a row for each tablet of all other tables
    user tablets

The row of a tablet has the key of its *last* row, so that the first row after the key of a wanted row is its tablet's.
Rows about METADATA tablets come before all others, so the root tablet is the first METADATA tablet. It is never split.

    places.py      the keys of METADATA rows, the row's value, where things lie in GFS and in the lock service
    messages.py    rows, filters and mutations on the wire
    once.py        each request to change something is carried out once

A METADATA row is changed by a compare-and-set on its value, and each value differs from all earlier ones by the token
of the assignment: whoever acts on something old finds another value there and changes nothing.

A split replaces one tablet by two, so it changes two rows; but only one row can be changed at once. So the row of the
upper half is written first, and it names the lower half as well (`lower_half`). That is the split. Then the lower half
gets its row, and last it is taken out of the other one. Whoever finds both in one row knows both.
"""
