defmodule DSPex.Test.OpenAI do
  @moduledoc false
  # The OpenAI-compatible server of python_bridge.testing, as a process of its own, scripted over HTTP.

  alias DSPex.Test.Vectors
  alias DSPex.Wire.Json

  @doc "Starts the server; with a `key`, it refuses requests that bring no or another one."
  def start(key \\ nil) do
    {:ok, _apps} = Application.ensure_all_started(:inets)
    test = self()

    {:ok, pid} =
      ExUnit.Callbacks.start_supervised({Task, fn -> serve(test, key) end}, id: make_ref(), restart: :temporary)

    receive do
      {:openai, ^pid, base_url} -> base_url
    after
      60_000 -> raise "the OpenAI-compatible server did not start"
    end
  end

  @doc "Scripts the next answers."
  def push(base_url, behaviours), do: control(base_url, %{"push" => behaviours})

  @doc "Waits until the server has seen so many `requests` or `disconnects`."
  def await(base_url, condition) do
    url = "#{String.trim_trailing(base_url, "/v1")}/control?#{condition}&timeout=30"
    {:ok, {{_version, status, _reason}, _headers, body}} = :httpc.request(:get, {String.to_charlist(url), []}, [], [])
    {status, decode(body)}
  end

  @doc "Sends any control message."
  def control(base_url, members) do
    {:ok, json, []} = Json.encode(members)
    url = String.to_charlist("#{String.trim_trailing(base_url, "/v1")}/control")
    request = {url, [], 'application/json', IO.iodata_to_binary(json)}
    {:ok, {{_version, 200, _reason}, _headers, body}} = :httpc.request(:post, request, [], [])
    decode(body)
  end

  defp decode(body) do
    {:ok, raw} = body |> IO.iodata_to_binary() |> Json.Plain.decode()
    Vectors.plain(raw)
  end

  # The port ends with this process, and the server with its input.
  defp serve(test, key) do
    token = if key, do: ["--token-env", "DSPEX_TEST_SERVER_KEY"], else: []
    env = if key, do: [{'DSPEX_TEST_SERVER_KEY', String.to_charlist(key)}], else: []
    args = ["-m", "python_bridge.testing.openai_server", "--exit-on-eof" | token]
    port = Port.open({:spawn_executable, Path.expand(".venv/bin/python")}, [:binary, line: 4096, args: args, env: env])

    receive do
      {^port, {:data, {:eol, line}}} -> send(test, {:openai, self(), decode(line)["base_url"]})
    end

    receive(do: (:stop -> :ok))
  end
end
