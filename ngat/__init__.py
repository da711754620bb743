"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

Read the rooms in the order in which data flows: graph, projection, plasticity, attention,
model, loss, instances, metrics.
"""

import os

# Threads that wait for work shall sleep, not spin. Where cores are shared (two engines, the thread
# that draws patches, other programs) spinning took a training step on two cores from 0.3 s to
# 2.4 s. It counts only if it is set before torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
