"""Molecules and their language: the only home of rdkit."""
