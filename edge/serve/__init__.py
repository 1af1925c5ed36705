"""An OpenAI-compatible server for one artifact: `requests` checks, `engine` answers, `app` speaks HTTP."""
