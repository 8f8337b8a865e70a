zeroq distill --help
