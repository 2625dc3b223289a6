"""From a class to the exports of a world. Imported by the entry that `fairlead plugin build` writes, and by nobody else."""
