defmodule DSPex.Native.LM.Http do
  @moduledoc """
  One HTTP request with `:httpc`, its body read on demand. It belongs to the process that opened it: when that one dies
  or closes it, the connection is dropped at once.

  Where Finch or Req is installed, `DSPex.Native.LM.new(model, http: DSPex.Native.LM.Http.Finch)` (or `….Http.Req`) takes its
  place, and so does any module with the same three callbacks (over Mint, or a test's own answers). All of them run in the
  process that asks the LM; certificates, redirects (which are not to be followed: the key would go along) and time are that
  module's care.

  Bytes of a body that a server sends in one packet with the head are given out by `:httpc` only when more comes. Where the
  first piece of a stream counts and servers do so, take Finch.
  """

  @profile :dspex
  @connect_timeout 10_000

  @typedoc "What the module that posted needs to go on."
  @type handle :: term
  @type part ::
          {:status, pos_integer, [{String.t(), String.t()}]}
          | {:data, binary}
          | :done
          | {:response, pos_integer, [{String.t(), String.t()}], binary}
          | {:error, term}

  @doc "Posts a body; what goes wrong is told by `c:next/2`. The time is milliseconds for the whole exchange."
  @callback post(url :: String.t(), headers :: [{String.t(), String.t()}], body :: iodata, timeout) :: handle

  @doc "Waits for the next part, at most so many milliseconds."
  @callback next(handle, timeout) :: part | :timeout

  @doc "Drops the request, whatever has come of its answer; called once, also after the last part."
  @callback close(handle) :: :ok

  @doc "Posts a body. `timeout` is milliseconds for the whole exchange."
  @spec post(String.t(), [{String.t(), String.t()}], iodata, timeout) :: handle
  def post(url, headers, body, timeout) do
    {owner, ref} = {self(), make_ref()}
    {pid, monitor} = spawn_monitor(fn -> init(owner, ref, url, headers, body, timeout) end)
    {pid, ref, monitor}
  end

  @doc """
  The next part: first `{:status, …}` and then `{:data, _}` up to `:done`, or `{:response, …}` for an answer that is no
  success, or an error.
  """
  @spec next(handle, timeout) :: part | :timeout
  def next({pid, ref, monitor}, timeout) do
    send(pid, {:next, ref})

    receive do
      {^ref, part} -> part
      {:DOWN, ^monitor, :process, _pid, reason} -> {:error, reason}
    after
      timeout -> :timeout
    end
  end

  @doc "Drops the request."
  @spec close(handle) :: :ok
  def close({pid, ref, monitor}) do
    send(pid, {:close, ref})
    Process.demonitor(monitor, [:flush])
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {^ref, _part} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp init(owner, ref, url, headers, body, timeout) do
    Process.monitor(owner)
    start_profile()
    charlists = for {name, value} <- headers, do: {String.to_charlist(name), String.to_charlist(value)}
    request = {String.to_charlist(url), charlists, ~c'application/json', IO.iodata_to_binary(body)}
    http = [timeout: timeout, connect_timeout: min(timeout, @connect_timeout), autoredirect: false, ssl: tls(url)]

    case :httpc.request(:post, request, http, [sync: false, stream: {:self, :once}, body_format: :binary], @profile) do
      {:ok, id} ->
        loop(%{owner: owner, ref: ref, id: id, handler: nil, parts: :queue.new(), asked: 0})

      {:error, reason} ->
        loop(%{owner: owner, ref: ref, id: nil, handler: nil, parts: :queue.from_list([{:error, reason}]), asked: 0})
    end
  end

  defp loop(%{id: id, ref: ref, owner: owner} = state) do
    receive do
      {:http, {^id, :stream_start, headers, handler}} ->
        %{state | handler: handler} |> add({:status, 200, texts(headers)}) |> loop()

      {:http, {^id, :stream, bytes}} ->
        state |> add({:data, bytes}) |> loop()

      {:http, {^id, :stream_end, _headers}} ->
        %{state | handler: nil} |> add(:done) |> loop()

      {:http, {^id, {{_version, status, _text}, headers, body}}} ->
        state |> add({:response, status, texts(headers), body}) |> loop()

      {:http, {^id, {:error, reason}}} ->
        %{state | handler: nil} |> add({:error, reason}) |> loop()

      {:next, ^ref} ->
        %{state | asked: state.asked + 1} |> deliver() |> loop()

      {:close, ^ref} ->
        cancel(id)

      {:DOWN, _monitor, :process, ^owner, _reason} ->
        cancel(id)
    end
  end

  defp add(state, part), do: deliver(%{state | parts: :queue.in(part, state.parts)}, false)

  # What has come is handed over; only when nothing is left is the server's next piece taken from the socket.
  defp deliver(state, pull? \\ true)
  defp deliver(%{asked: 0} = state, _pull?), do: state

  defp deliver(state, pull?) do
    case :queue.out(state.parts) do
      {{:value, part}, parts} ->
        send(state.owner, {state.ref, part})
        %{state | parts: parts, asked: state.asked - 1}

      {:empty, _parts} ->
        if pull? and state.handler, do: :httpc.stream_next(state.handler)
        state
    end
  end

  defp cancel(nil), do: :ok
  defp cancel(id), do: :httpc.cancel_request(id, @profile)

  defp texts(headers), do: for({name, value} <- headers, do: {to_string(name), to_string(value)})

  # The default profile allows two connections to a server, and queues everything else behind them.
  defp start_profile do
    case :inets.start(:httpc, profile: @profile) do
      {:ok, _pid} ->
        :httpc.set_options([max_sessions: 1024, max_keep_alive_length: 1024, max_pipeline_length: 0], @profile)

      {:error, _already_started} ->
        :ok
    end
  end

  defp tls("https:" <> _rest) do
    [
      verify: :verify_peer,
      cacerts: :public_key.cacerts_get(),
      depth: 5,
      customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    ]
  end

  defp tls(_plain), do: []
end
