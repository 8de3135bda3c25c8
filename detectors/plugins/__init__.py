"""Detectors beside the pager: drift, joint oddities, declared objectives. One contract, `detectors.plugins.plugin`."""
