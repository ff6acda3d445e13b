"""Assets: one file per stage, thin: open the run's lab, call a stage of ``ops``, return what a person wants to see."""
