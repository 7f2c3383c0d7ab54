"""``edgekit serve``: bundles over HTTP, by LibreTranslate's API and OpenAI's.

Reading order: `limits`, `service` (models, queues, keys, metrics), `translation_batches` and `text_schedule` (the
worker threads, both over `fair_queue`), `libretranslate` and `openai_api` (the routes), `lifetime` (the frame of every
request), `app`, `server`. HTTP is uvicorn's and starlette's; the threads know nothing of it.

The model's text is not filtered, and there is no TLS: beyond one machine, a reverse proxy belongs in front.
"""
