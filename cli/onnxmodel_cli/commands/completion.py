"""`onnxmodel completion`: what a shell needs to complete commands, options and names of models."""

import argparse

from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_BASH = """\
_onnxmodel() {
    local IFS=$'\\n'
    COMPREPLY=($(onnxmodel __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default
}
complete -F _onnxmodel onnxmodel kubectl-onnx
"""
_ZSH = """\
#compdef onnxmodel kubectl-onnx
_onnxmodel() {
    local -a found
    found=("${(@f)$(onnxmodel __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _onnxmodel onnxmodel kubectl-onnx
"""
_FISH = """\
function __onnxmodel_complete
    set -l words (commandline -opc) (commandline -ct)
    onnxmodel __complete $words[2..-1] 2>/dev/null
end
for name in onnxmodel kubectl-onnx
    complete -c $name -a '(__onnxmodel_complete)'
end
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def _arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=[*_SCRIPTS], help="the shell")


def _run(options: argparse.Namespace) -> int:
    print(_SCRIPTS[options.shell], end="")
    return ExitCode.OK


COMMAND = Command(
    "completion",
    "print the completion for bash, zsh or fish",
    _arguments,
    _run,
    formats=(),
    epilog="bash: source <(onnxmodel completion bash); zsh: source <(onnxmodel completion zsh) after compinit; fish: "
    "onnxmodel completion fish | source. kubectl completes `kubectl onnx` by itself if kubectl_complete-onnx is on the "
    "PATH, which is installed with onnxmodel.",
)
