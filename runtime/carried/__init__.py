"""Unary calls in a stream: all calls between two peers, as envelopes in one bidirectional gRPC stream.

The problem. Control is many small calls, and a unary call of `grpc.aio` costs 200 to 600 microseconds of both
processes' time, whatever it says: it opens an HTTP/2 stream, sends headers, and goes through a dozen callbacks at
each end. GFS keeps its control messages few (GFS 3.2); ours should be cheap as well. The idea. A message on a gRPC
stream that is open already costs half of that, and it can carry many calls. So each pair of peers keeps one stream,
and every unary call is an envelope in it (proto/carry.proto): the method's path, the serialised request, the caller's
remaining patience, cause and clock. The answer comes back with the call's number. Stubs and servicers are the
generated ones and notice nothing.

    letters.py    what waits to be sent, and the envelope that becomes of it
    end.py        what both ends have: a bounded queue, from which the transport takes a message at a time
    client.py     the caller's end: the table of calls in flight, and what becomes of them when the stream ends
    server.py     the server's end: the calls that it serves, and how it drains
    channel.py    what a stub calls; opens the stream, and opens it again after a pause
    deadlines.py  the deadlines of many calls with one timer

Below are the transports, one for each world: runtime/real/carrier.py (`grpc.aio`) and runtime/simulated/carrier.py (the
fabric). They move envelopes and know nothing of calls, so what is simulated is what runs.

Invariants:
1. An answer reaches the call that asked, or nobody. A call has one number in one stream, and a stream that has ended
   takes no answers.
2. A call is answered once: by the servicer, its deadline, or the end of its stream.
3. *Definite* is said of a call only if no servicer has seen it or ever will: it never left, the server refused it, or
   the server ended the stream in good order without answering it. All else that a broken stream leaves is indefinite.
4. No call waits for another one's servicer. Calls are in no order, but for a caller that waits for one before the next.
5. A letter that is alone leaves at once. There are no timers that gather.
6. What waits to be sent is bounded (`QUEUE_BYTES`, `QUEUE_LETTERS` for each end); callers wait for room, within their
   deadlines.

What we simplify. The token is checked when the stream is opened, and holds for all its calls: whoever could speak in
the middle of a TCP connection could read the token as well. An envelope of many megabytes holds up those behind it
while it is sent; what is large in earnest goes the bulk way (runtime/bulk.py). Calls that stream stay plain gRPC.
"""
