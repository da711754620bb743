"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

Read the modules in the order in which data flows: graph, projection, plasticity, attention,
model, loss, instances, metrics.
"""

__version__ = "0.1.0"
