defmodule DSPex.Test.Peer do
  @moduledoc false
  # A worker in this BEAM that speaks the real protocol over the memory transport. What it does with a method is a function
  # of the test; what a test does not script is answered as a healthy worker would.

  alias DSPex.Protocol.Message
  alias DSPex.Transport.Memory
  alias DSPex.Wire.Frame
  alias DSPex.Wire.Payload

  @doc "Options of a pool whose workers are scripted: `%{method => fn link, id, params -> … end}`."
  def pool(script \\ %{}, options \\ []) do
    Keyword.merge(
      [workers: 1, transport: {Memory, peer: fn -> start(script) end}, backoff: [first: 1, most: 20]],
      options
    )
  end

  @doc "Starts an instance named after the test, with one pool of scripted workers."
  def start_instance(name, script, options \\ []) do
    {:ok, _pid} = ExUnit.Callbacks.start_supervised({DSPex, name: name, pools: [default: pool(script, options)]})
    name
  end

  def start(script), do: spawn(fn -> loop(%{script: script, decoder: Frame.new(), link: nil}) end)

  def result(link, id, members), do: answer(link, id, :result, members)
  def error(link, id, error), do: answer(link, id, :error, DSPex.Error.to_object(error))
  def event(link, id, seq, event), do: notify(link, "stream/event", [{"id", id}, {"seq", seq}, {"event", event}])
  def notify(link, method, params), do: raw(link, Frame.encode(Message.notification(method, payload(params))))
  def request(link, id, method, params), do: raw(link, Frame.encode(Message.request(id, method, payload(params), [])))
  def raw(link, bytes), do: Memory.reply(link, bytes)

  def prediction(outputs), do: %{"outputs" => outputs, "usage" => %{}, "cost" => nil, "meta" => %{"worker" => "w1"}}

  def token(text, last \\ false), do: %{"type" => "token", "field" => "answer", "text" => text, "last" => last}

  defp loop(state) do
    receive do
      {:dspex_memory, link, :open} -> loop(%{state | link: link})
      {:dspex_memory, _link, {:data, bytes}} -> bytes |> feed(state) |> loop()
      {:dspex_memory, _link, :close} -> :ok
      {:run, function} -> function.(state.link) && loop(state)
    end
  end

  defp feed(bytes, state) do
    {frames, decoder} = Frame.decode(state.decoder, bytes)
    for {:frame, body} <- frames, do: body |> Message.decode() |> handle(state)
    %{state | decoder: decoder}
  end

  defp handle({:request, id, method, params}, %{link: link, script: script}) do
    case script do
      %{^method => function} -> function.(link, id, params)
      _other -> default(method, link, id, params)
    end
  end

  defp handle({:notification, method, params}, %{link: link, script: script}) do
    with %{^method => function} <- script, do: function.(link, nil, params)
  end

  defp handle({:response, id, outcome}, %{link: link, script: script}) do
    with %{"response" => function} <- script, do: function.(link, id, outcome)
  end

  defp handle(_message, _state), do: :ok

  def default("initialize", link, id, _params) do
    initialized(link, id)
    notify(link, "ready", [{"dspy", %{"version" => "3.4.1"}}, {"features", []}, {"boot_ms", 1}])
  end

  def default("ping", link, id, _params), do: result(link, id, %{})
  def default("program.put", link, id, _params), do: result(link, id, %{"module" => String.duplicate("a", 64)})
  def default("echo", link, id, params), do: result(link, id, %{"value" => params["value"]})
  def default("module.call", link, id, _params), do: result(link, id, prediction(%{"answer" => "Paris"}))

  def default("shutdown", link, id, _params),
    do: result(link, id, %{}) && Memory.hang_up(link, "the process ended with exit status 0")

  def default(method, link, id, _params), do: error(link, id, DSPex.Error.new(:not_found, "no method #{method}"))

  def initialized(link, id, version \\ 1) do
    result(link, id, %{
      "protocol_version" => version,
      "server" => %{"name" => "scripted", "version" => "0"},
      "limits" => %{"max_frame_bytes" => 1_000_000},
      "worker_id" => "w1",
      "pid" => 1
    })
  end

  defp answer(link, id, member, members), do: raw(link, Frame.encode(Message.response(id, member, payload(members))))

  defp payload(members) do
    {:ok, payload} = Payload.encode(:json, Enum.to_list(members))
    payload
  end
end
