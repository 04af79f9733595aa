"""What kafka-python's tests import and its source package leaves out: who stands for a broker.

Theirs starts one. Here it runs already, at the address in KAFKA_URI."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def close(self):
        pass


class SpawnedService:
    def __init__(self, *_args, **_more):
        raise RuntimeError("brokers are started elsewhere; expected one at the address in KAFKA_URI")
