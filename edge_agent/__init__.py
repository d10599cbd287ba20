"""The agent that runs on a gateway: reads field devices, spools, publishes Sparkplug B.

Pure modules decide; shells, named for the act, own sockets, files and threads:

    poll_bus  store_readings  publish_batches  load_profiles  run_agent  read_once  cli  drivers/*
"""
