"""Associative memories: matrices, attractor networks and learning rules, with their theory beside them.

Every memory is filled by `store`, which adds to what is there and returns the memory, and read by `recall`.
"""

from fastweights.memories import attractors, gamma_memory, hopfield_theory, patterns
from fastweights.memories.attractors import basin_curve, classify, fixed_points, mixtures
from fastweights.memories.capacity import CapacityCurve, capacity_curve
from fastweights.memories.continuous_hopfield import ContinuousHopfield
from fastweights.memories.decaying_memory import DecayingMemory, signal_to_noise, window
from fastweights.memories.delta_rule import DeltaMemory, delta_net
from fastweights.memories.dense_hopfield import DenseHopfield
from fastweights.memories.hebbian import DecayingHebb, hebb, hebb_flow
from fastweights.memories.hopfield import HopfieldNetwork
from fastweights.memories.learning import integrate, learn
from fastweights.memories.linear_associator import (
    CorrelationMemory,
    IncrementalMemory,
    PseudoInverseMemory,
    bit_error,
    crosstalk_variance,
    load,
)
from fastweights.memories.modern_hopfield import ModernHopfield, modern_capacity
from fastweights.memories.patterns import erase, flip, overlap, random_signs, random_unit_vectors
from fastweights.memories.principal_components import oja, oja_flow, sanger
from fastweights.memories.relaxation import Relaxation
from fastweights.memories.sliding_threshold import bcm

__all__ = [
    "CapacityCurve",
    "ContinuousHopfield",
    "CorrelationMemory",
    "DecayingHebb",
    "DecayingMemory",
    "DeltaMemory",
    "DenseHopfield",
    "HopfieldNetwork",
    "IncrementalMemory",
    "ModernHopfield",
    "PseudoInverseMemory",
    "Relaxation",
    "attractors",
    "basin_curve",
    "bcm",
    "bit_error",
    "capacity_curve",
    "classify",
    "crosstalk_variance",
    "delta_net",
    "erase",
    "fixed_points",
    "flip",
    "gamma_memory",
    "hebb",
    "hebb_flow",
    "hopfield_theory",
    "integrate",
    "learn",
    "load",
    "mixtures",
    "modern_capacity",
    "oja",
    "oja_flow",
    "overlap",
    "patterns",
    "random_signs",
    "random_unit_vectors",
    "sanger",
    "signal_to_noise",
    "window",
]
