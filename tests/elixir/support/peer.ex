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

  @doc "The same worker behind a listening socket; ends when the process that is returned gets `:stop`."
  def listen(script, listen_options) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, reuseaddr: true] ++ listen_options)
    {:ok, port} = :inet.port(listener)
    owner = self()

    server =
      spawn(fn ->
        receive(do: (:go -> :ok))
        send(owner, :listening)
        acceptor = spawn_link(fn -> accept(listener, script) end)
        receive(do: (:stop -> Process.exit(acceptor, :kill)))
      end)

    :ok = :gen_tcp.controlling_process(listener, server)
    send(server, :go)
    receive(do: (:listening -> {server, port}))
  end

  # Each connection has a process that stands between the socket and a peer, as the memory transport's owner would.
  defp accept(listener, script) do
    {:ok, socket} = :gen_tcp.accept(listener)

    relay =
      spawn_link(fn ->
        receive(do: (:go -> :ok))
        link = {self(), make_ref()}
        peer = start(script)
        send(peer, {:dspex_memory, link, :open})
        :inet.setopts(socket, active: true)
        relay(socket, peer, link)
      end)

    :ok = :gen_tcp.controlling_process(socket, relay)
    send(relay, :go)
    accept(listener, script)
  end

  defp relay(socket, peer, {_self, ref} = link) do
    receive do
      {:tcp, ^socket, bytes} -> send(peer, {:dspex_memory, link, {:data, bytes}})
      {Memory, ^ref, {:data, bytes}} -> :gen_tcp.send(socket, bytes)
      {Memory, ^ref, {:closed, _why}} -> :gen_tcp.close(socket)
      {:tcp_closed, ^socket} -> send(peer, {:dspex_memory, link, :close})
    end

    relay(socket, peer, link)
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

  def initialized(link, id, version \\ 1, cap \\ 1_000_000) do
    result(link, id, %{
      "protocol_version" => version,
      "server" => %{"name" => "scripted", "version" => "0"},
      "limits" => %{"max_frame_bytes" => cap},
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
