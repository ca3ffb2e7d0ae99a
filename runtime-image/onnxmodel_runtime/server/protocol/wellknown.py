"""The messages of grpc.health.v1 and of server reflection, by the field numbers of their public definitions.

They are built here, in a pool of their own: two packages more in the image would hold nothing else.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

_Field = tuple[str, int, str]  # name, number and type; "*" before a type: repeated; "?": one of a oneof
_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
}
_pool = descriptor_pool.DescriptorPool()


def _file(name: str, package: str, messages: dict[str, tuple[str, list[_Field]]]) -> Any:
    """messages: by their names; the name of the oneof, and the fields."""
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for message, (oneof, fields) in messages.items():
        made = file.message_type.add(name=message)
        if oneof:
            made.oneof_decl.add(name=oneof)
        for field, number, kind in fields:
            plain = kind.lstrip("*?")
            label = 3 if kind[0] == "*" else 1
            into = made.field.add(name=field, number=number, label=label)
            if plain in _TYPES:
                into.type = _TYPES[plain]
            else:
                into.type_name = f".{package}.{plain}"
                enum = plain.rpartition(".")[2] == "ServingStatus"
                into.type = (
                    descriptor_pb2.FieldDescriptorProto.TYPE_ENUM
                    if enum
                    else descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                )
            if kind[0] == "?":
                into.oneof_index = 0
    return file


def _method(service: Any, name: str, package: str, types: tuple[str, str], streams: tuple[bool, bool]) -> None:
    service.method.add(
        name=name,
        input_type=f".{package}.{types[0]}",
        output_type=f".{package}.{types[1]}",
        client_streaming=streams[0],
        server_streaming=streams[1],
    )


def _health() -> Any:
    package, request, response = "grpc.health.v1", "HealthCheckRequest", "HealthCheckResponse"
    file = _file(
        "grpc/health/v1/health.proto",
        package,
        {
            request: ("", [("service", 1, "string")]),
            response: ("", [("status", 1, "HealthCheckResponse.ServingStatus")]),
        },
    )
    statuses = file.message_type[1].enum_type.add(name="ServingStatus")
    for number, status in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        statuses.value.add(name=status, number=number)
    service = file.service.add(name="Health")
    _method(service, "Check", package, (request, response), (False, False))
    _method(service, "Watch", package, (request, response), (False, True))
    return _pool.AddSerializedFile(file.SerializeToString())


def _reflection(version: str) -> Any:
    package, request, response = f"grpc.reflection.{version}", "ServerReflectionRequest", "ServerReflectionResponse"
    file = _file(
        f"grpc/reflection/{version}/reflection.proto",
        package,
        {
            request: (
                "message_request",
                [
                    ("host", 1, "string"),
                    ("file_by_filename", 3, "?string"),
                    ("file_containing_symbol", 4, "?string"),
                    ("file_containing_extension", 5, "?ExtensionRequest"),
                    ("all_extension_numbers_of_type", 6, "?string"),
                    ("list_services", 7, "?string"),
                ],
            ),
            "ExtensionRequest": ("", [("containing_type", 1, "string"), ("extension_number", 2, "int32")]),
            response: (
                "message_response",
                [
                    ("valid_host", 1, "string"),
                    ("original_request", 2, request),
                    ("file_descriptor_response", 4, "?FileDescriptorResponse"),
                    ("all_extension_numbers_response", 5, "?ExtensionNumberResponse"),
                    ("list_services_response", 6, "?ListServiceResponse"),
                    ("error_response", 7, "?ErrorResponse"),
                ],
            ),
            "FileDescriptorResponse": ("", [("file_descriptor_proto", 1, "*bytes")]),
            "ExtensionNumberResponse": ("", [("base_type_name", 1, "string"), ("extension_number", 2, "*int32")]),
            "ListServiceResponse": ("", [("service", 1, "*ServiceResponse")]),
            "ServiceResponse": ("", [("name", 1, "string")]),
            "ErrorResponse": ("", [("error_code", 1, "int32"), ("error_message", 2, "string")]),
        },
    )
    _method(
        file.service.add(name="ServerReflection"), "ServerReflectionInfo", package, (request, response), (True, True)
    )
    return _pool.AddSerializedFile(file.SerializeToString())


def message(file: Any, name: str) -> Any:
    """The class of a message of HEALTH or of one of REFLECTION."""
    return message_factory.GetMessageClass(file.message_types_by_name[name])


HEALTH = _health()
REFLECTION = tuple(_reflection(version) for version in ("v1", "v1alpha"))
