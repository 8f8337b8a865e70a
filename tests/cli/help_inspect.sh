zeroq inspect --help
