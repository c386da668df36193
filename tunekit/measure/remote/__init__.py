"""Candidates built here and measured on devices of an RPC tracker."""
