"""A device plugin, and a client of the pod resources API, over gRPC's own C core. Messages are written by hand: nothing is shared with what is tested.

Arguments: the agent's root directory, and the name of the resource that is brought.
Prints a line for each thing that has happened.
"""
import sys
import time
from concurrent import futures

import grpc

root, resource = sys.argv[1:]


def raw(data):
    return data


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def say(*words):
    print(*words, flush=True)


class Plugin(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(lambda request, _: b""),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(self.list_and_watch),
            "Allocate": grpc.unary_unary_rpc_method_handler(self.allocate),
        }.get(call.method.split("/")[-1])

    def list_and_watch(self, request, context):
        well = field(1, b"x") + field(2, b"Healthy") + field(3, field(1, b"\x08\x01"))
        ill = field(1, b"y") + field(2, b"Unhealthy")
        yield field(1, well) + field(1, ill)
        while context.is_active():
            time.sleep(0.1)

    def allocate(self, request, context):
        say("allocate", request.hex())
        return field(1, field(1, field(1, b"FOREIGN") + field(2, b"yes")))


def call(socket, method, request=b""):
    with grpc.insecure_channel("unix:" + socket) as channel:
        return channel.unary_unary(method, request_serializer=raw, response_deserializer=raw)(request, timeout=10)


server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Plugin(),))
server.add_insecure_port("unix:" + root + "/device-plugins/foreign.sock")
server.start()

agent = root + "/device-plugins/kubelet.sock"
rest = field(2, b"foreign.sock") + field(3, resource.encode())
try:
    call(agent, "/v1beta1.Registration/Register", field(1, b"v1") + rest)
except grpc.RpcError as error:
    say("refused", error.code().name, error.details())
call(agent, "/v1beta1.Registration/Register", field(1, b"v1beta1") + rest)
say("registered")

for line in sys.stdin:
    name = line.strip().encode()
    request = field(1, name) + field(2, b"default")
    try:
        say("holds", call(root + "/pod-resources/kubelet.sock", "/v1.PodResourcesLister/Get", request).hex())
    except grpc.RpcError as error:
        say("error", error.code().name, error.details())
