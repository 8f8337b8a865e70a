zeroq compare --help
