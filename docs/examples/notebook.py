"""Use a session in a notebook, cell by cell: the notebook's event loop runs all the time."""

# %%
from truecaller_vbc import VBCSession

vbc = await VBCSession.from_env().open()

# %%
print([label.name for label in await vbc.labels.list()])

# %%
print(vbc.status().to_dict())

# %%
await vbc.close()
