"""merge.py FIRST LEARNED OUT: the network of FIRST with the learned optimizer of LEARNED."""
import sys
from pathlib import Path

from facsimile.encoders.files import read, save

first, learned = read(Path(sys.argv[1])), read(Path(sys.argv[2]))
state = learned.state_dict()
own = {k: v for k, v in first.state_dict().items() if k in state and not k.startswith("optimizer")}
print(len(own), "of", len(state), "tensors", first.config, learned.config)
learned.load_state_dict(state | own)
save(learned, Path(sys.argv[3]))
