zeroq pareto --help
