zeroq quantize --help
