"""The platform's AWS account on this machine: the same template, functions and model code, really executed."""
