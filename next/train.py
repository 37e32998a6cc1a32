"""facsimile train, without trying algorithms for every shape: its batches have many."""
import sys

import torch

from facsimile.commands import train as command

inner = command.train
def train(*args):
    torch.backends.cudnn.benchmark = False
    return inner(*args)
command.train = train
sys.exit(command.main(sys.argv[1:]))
