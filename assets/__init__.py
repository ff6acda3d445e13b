"""Assets: one file per stage, thin. They open the run's lab, call a stage of ``ops`` and return what a person wants to see."""
