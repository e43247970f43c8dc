"""Reads an object by four connections, in pieces of 32 MiB as our client does, and throws the bytes away: what a client that costs
nothing would still wait for.

usage: discard.py BUCKET KEY BYTES    (endpoint from AWS's variables; the bucket lets the public read)
"""

import http.client
import os
import sys
import threading
import urllib.parse

bucket, key, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
address = urllib.parse.urlparse(os.environ["AWS_ENDPOINT_URL"]).netloc
PIECE = 32 << 20
starts = list(range(0, size, PIECE))
came = []


def read():
    connection, room = http.client.HTTPConnection(address), memoryview(bytearray(1 << 20))
    while True:
        try:
            start = starts.pop(0)
        except IndexError:
            return
        connection.request("GET", f"/{bucket}/{key}", headers={"Range": f"bytes={start}-{min(start + PIECE, size) - 1}"})
        answer = connection.getresponse()
        assert answer.status == 206, answer.status
        while more := answer.readinto(room):
            came.append(more)


threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sum(came) == size, f"{sum(came)} of {size} bytes came"
