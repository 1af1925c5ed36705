"""A process of `edge.data.frame.crew`: a request a line on stdin, an answer a line on stdout."""

import os
import signal
import sys
import threading
from queue import SimpleQueue

from edge.data.frame.work import answer


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        print(answer(requests.get()), flush=True)


def _listen(requests: "SimpleQueue[str]") -> None:
    for request in sys.stdin:
        requests.put(request)
    os._exit(0)  # nobody waits for what is being done


if __name__ == "__main__":
    main()
