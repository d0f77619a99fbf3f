defmodule DSPex.Native.LM.Http.Relay do
  @moduledoc """
  What clients that call a function with each piece of an answer need to be read on demand: the request runs in a process of
  its own, which hands a piece on when it is asked for the next. It ends with the process that asked.
  """

  alias DSPex.Native.LM.Http

  # What a server says about a failure is shown to 500 characters.
  @most_of_an_error 65_536

  defstruct [:emit, status: nil, headers: [], body: [], size: 0]

  @type t :: %__MODULE__{}
  @type event :: {:status, pos_integer} | {:headers, [{String.t(), String.t()}]} | {:data, binary} | {:trailers, list}

  @doc "Runs a request, which gives each event of the answer to `event/2` and the outcome to `finish/2`."
  @spec start((t -> term)) :: Http.handle()
  def start(request) do
    {owner, ref} = {self(), make_ref()}
    {pid, monitor} = spawn_monitor(fn -> run(owner, ref, request) end)
    {pid, ref, monitor}
  end

  @doc "See `c:DSPex.Native.LM.Http.next/2`."
  @spec next(Http.handle(), timeout) :: Http.part() | :timeout
  def next({pid, ref, monitor}, timeout) do
    send(pid, {:next, ref})

    receive do
      {^ref, part} -> part
      {:DOWN, ^monitor, :process, _pid, _reason} -> {:error, :closed}
    after
      timeout -> :timeout
    end
  end

  @doc "See `c:DSPex.Native.LM.Http.close/1`. The client closes the connection of a process that died in mid-answer."
  @spec close(Http.handle()) :: :ok
  def close({pid, ref, monitor}) do
    Process.exit(pid, :kill)
    # Nothing is sent any more once it is known to be gone.
    receive(do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok))
    flush(ref)
  end

  @doc "Takes an event of the answer, and hands it on when it is one of a success."
  @spec event(event, t) :: {:cont | :halt, t}
  def event({:status, status}, relay), do: {:cont, %{relay | status: status, headers: []}}

  def event({:headers, headers}, relay) do
    if relay.status == 200, do: relay.emit.({:status, 200, headers})
    {:cont, %{relay | headers: headers}}
  end

  def event({:data, bytes}, %{status: 200} = relay) do
    relay.emit.({:data, bytes})
    {:cont, relay}
  end

  def event({:data, bytes}, relay) do
    relay = %{relay | body: [relay.body, bytes], size: relay.size + byte_size(bytes)}
    {if(relay.size < @most_of_an_error, do: :cont, else: :halt), relay}
  end

  def event({:trailers, _trailers}, relay), do: {:cont, relay}

  @doc "Hands on how the answer ended."
  @spec finish(:ok | {:error, Exception.t()}, t) :: term
  def finish(:ok, %{status: 200} = relay), do: relay.emit.(:done)

  def finish(:ok, relay),
    do: relay.emit.({:response, relay.status, relay.headers, IO.iodata_to_binary(relay.body)})

  def finish({:error, error}, relay), do: relay.emit.({:error, reason(error)})

  # A reason with values in it may hold a header, and so the key; a name never does, nor an alert.
  defp reason(%{reason: reason}) when reason in [:timeout, :request_timeout], do: :timeout
  defp reason(%{reason: reason}) when is_atom(reason), do: reason
  defp reason(%{reason: {:tls_alert, {_alert, _text}} = reason}), do: reason
  defp reason(%{reason: reason}) when is_tuple(reason) and is_atom(elem(reason, 0)), do: elem(reason, 0)
  defp reason(%{__struct__: kind}), do: kind

  defp run(owner, ref, request) do
    worker = self()
    spawn(fn -> guard(owner, worker) end)
    relay = %__MODULE__{emit: &hand_on(owner, ref, &1)}

    try do
      request.(relay)
    rescue
      error -> finish({:error, error}, relay)
    catch
      :exit, _reason -> relay.emit.({:error, :closed})
    end
  end

  defp hand_on(owner, ref, part) do
    receive(do: ({:next, ^ref} -> send(owner, {ref, part})))
  end

  # The worker itself may wait for the server.
  defp guard(owner, worker) do
    Process.monitor(worker)
    monitor = Process.monitor(owner)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> Process.exit(worker, :kill)
      {:DOWN, _monitor, :process, _pid, _reason} -> :ok
    end
  end

  defp flush(ref) do
    receive do
      {^ref, _part} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
