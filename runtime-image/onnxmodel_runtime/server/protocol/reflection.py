"""gRPC server reflection, which describes a port's services to tools without their definition."""

from collections.abc import Iterable, Iterator
from typing import Any

NOT_FOUND, UNIMPLEMENTED = 5, 12


class Reflection:
    """Answers about the services of some files, and about what those import."""

    def __init__(self, files: Iterable[Any]) -> None:
        offered = list(files)
        self._services = sorted(service.full_name for file in offered for service in file.services_by_name.values())
        self._files = {file.name: file for file in _with_imports(offered)}
        self._symbols = {name: file for file in self._files.values() for name in _symbols(file)}

    def answer(self, request: Any, response: Any) -> None:
        """Fill the response to a request, both of the same version."""
        response.valid_host = request.host
        response.original_request.CopyFrom(request)
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in self._services:
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            self._tell(self._files.get(request.file_by_filename), f"file {request.file_by_filename[:200]}", response)
        elif kind == "file_containing_symbol":
            symbol = request.file_containing_symbol
            self._tell(self._symbols.get(symbol), f"symbol {symbol[:200]}", response)
        elif kind == "all_extension_numbers_of_type" and request.all_extension_numbers_of_type in self._symbols:
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif kind is None:
            _fail(response, UNIMPLEMENTED, "the request asks for nothing that this server supports")
        else:
            _fail(response, NOT_FOUND, "there is no such extension")

    def _tell(self, file: Any, what: str, response: Any) -> None:
        if file is None:
            _fail(response, NOT_FOUND, f"there is no {what}")
            return
        for each in _with_imports([file]):
            response.file_descriptor_response.file_descriptor_proto.append(each.serialized_pb)


def _fail(response: Any, code: int, message: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = message


def _with_imports(files: Iterable[Any]) -> list[Any]:
    """The files, and those that they import, each once."""
    found: dict[str, Any] = {}
    left = list(files)
    while left:
        file = left.pop(0)
        if file.name not in found:
            found[file.name] = file
            left += file.dependencies
    return list(found.values())


def _symbols(file: Any) -> Iterator[str]:
    """Full names of all that a file defines."""
    left = list(file.message_types_by_name.values())
    while left:
        message = left.pop()
        yield message.full_name
        yield from (field.full_name for field in message.fields)
        yield from (oneof.full_name for oneof in message.oneofs)
        yield from (enum.full_name for enum in message.enum_types)
        left += message.nested_types
    yield from (enum.full_name for enum in file.enum_types_by_name.values())
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
