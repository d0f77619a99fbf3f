defmodule DSPex.Session do
  @moduledoc """
  State that calls share: an LM by name, an adapter, variables, a conversation history, and sums of usage.

      {:ok, session} = DSPex.Session.open(instance: MyApp.DSPex, variables: %{"user" => "Ada"})
      {:ok, prediction} = DSPex.Session.call(session, program, %{question: "And why?"})
      {:ok, %{"entries" => entries}} = DSPex.Session.history(session)
      {:ok, %{"closed" => true}} = DSPex.Session.close(session)

  A session lies in the workers' store and belongs to none of them. Its calls go to the same worker as long as that one is
  ready and has room; else to another, which takes the session over with everything that was acknowledged. Its calls run one
  at a time, in order. A struct of this module is only its name and where to find it: it may be kept, sent to other
  processes, or made anew with `ref/2` after a restart.

  With `strict: true` a session stays with the Python process that opened it: when that one is gone, calls are `:worker_lost`
  and go nowhere else, until `bind/2` binds the session to another process or `ref/2` names it without any.
  """

  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Exchange
  alias DSPex.Instance
  alias DSPex.Pool.Place

  @timeout 60_000

  @common [:instance, :pool, :tenant, :timeout, :idempotency_key]
  @own %{
    "session.open" => [:id, :lm, :adapter, :variables, :limits, :strict],
    "session.import" => [:id, :strict],
    "session.put" => [:delete, :lm, :adapter],
    "session.get" => [:names],
    "session.history" => [:after, :limit],
    "session.list" => [:after, :limit]
  }

  @enforce_keys [:id, :instance]
  defstruct [:id, :instance, :pool, :tenant, :bound]

  @type t :: %__MODULE__{
          id: String.t(),
          instance: atom,
          pool: atom | nil,
          tenant: String.t() | nil,
          bound: Place.t() | nil
        }
  @type outcome :: {:ok, map} | {:error, Error.t()}

  @doc """
  Opens a session. Options: `:instance`, `:pool`, `:tenant`, `:timeout`; `:id` (made when not given; one that is taken is a
  `:conflict`), `:lm`, `:adapter`, `:variables` (map), `:limits` (map: `ttl_ms`, `idle_ms`, `max_bytes`, `history_entries`, …),
  `:idempotency_key`; `:strict` (`true`: no other process than the one that opens it).
  """
  @spec open(keyword) :: {:ok, t} | {:error, Error.t()}
  def open(options \\ []) do
    with :ok <- Check.all(options: options), :ok <- Check.all(id: options[:id]) do
      given = [{:session, options[:id]} | Keyword.take(options, [:lm, :adapter, :variables, :limits])]
      opened(ref(options[:id] || "", options), "session.open", members(given), options)
    end
  end

  @doc """
  Binds the session to the Python process that answers now, as `strict: true` does when it is opened.
  """
  @spec bind(t, keyword) :: {:ok, t} | {:error, Error.t()}
  def bind(session, options \\ []) do
    with :ok <- Check.all(session: session, options: options),
         session = %{session | bound: nil},
         {:ok, _result, place} <-
           send_request(session, "session.touch", [{"session", session.id}], options, session.id),
         do: {:ok, %{session | bound: place}}
  end

  @doc """
  Names a session that is there already; asks nobody.

      iex> DSPex.Session.ref("s-1", instance: MyApp.DSPex).id
      "s-1"
  """
  @spec ref(String.t(), keyword) :: t
  def ref(id, options \\ []) when is_binary(id) do
    %__MODULE__{
      id: id,
      instance: Keyword.get(options, :instance, DSPex),
      pool: options[:pool],
      tenant: options[:tenant]
    }
  end

  @doc "Runs a program within the session, as `DSPex.call/3`; inputs and outputs join its history."
  @spec call(t, DSPex.Program.t(), DSPex.inputs(), keyword) :: {:ok, DSPex.Prediction.t()} | {:error, Error.t()}
  def call(session, program, inputs, options \\ []) do
    with :ok <- Check.all(session: session, options: options),
         do: DSPex.call(program, inputs, Keyword.merge(options, bound(session)))
  end

  @doc "Streams a program within the session, as `DSPex.stream/3`."
  @spec stream(t, DSPex.Program.t(), DSPex.inputs(), keyword) :: Enumerable.t()
  def stream(session, program, inputs, options \\ []) do
    case Check.all(session: session, options: options) do
      :ok -> DSPex.stream(program, inputs, Keyword.merge(options, bound(session)))
      {:error, error} -> Stream.resource(fn -> raise error end, &{:halt, &1}, & &1)
    end
  end

  @doc "Sets variables (a map); `:delete` takes names away, `:lm` and `:adapter` change those of the session."
  @spec put(t, map, keyword) :: outcome
  def put(session, variables, options \\ []) do
    ask(session, "session.put", [{:variables, variables}, :delete, :lm, :adapter], options)
  end

  @doc "The variables, all or those of `:names`."
  @spec get(t, keyword) :: outcome
  def get(session, options \\ []) do
    with {:ok, %{"variables" => variables}} <- ask(session, "session.get", [:names], options),
         do: {:ok, variables}
  end

  @doc "What is known of the session: LM, adapter, names of variables, usage, limits, times."
  @spec describe(t, keyword) :: outcome
  def describe(session, options \\ []), do: ask(session, "session.describe", [], options)

  @doc "The conversation: `\"entries\"` with `\"fields\"`, oldest first. Options `:after` (a `seq`) and `:limit`."
  @spec history(t, keyword) :: outcome
  def history(session, options \\ []),
    do: ask(session, "session.history", [:after, :limit], options)

  @doc "Adds entries (maps of fields) to the conversation."
  @spec append(t, [map], keyword) :: outcome
  def append(session, entries, options \\ []), do: ask(session, "session.append", [entries: entries], options)

  @doc "Keeps the newest `keep` entries of the conversation."
  @spec trim(t, non_neg_integer, keyword) :: outcome
  def trim(session, keep, options \\ []), do: ask(session, "session.trim", [keep: keep], options)

  @doc "The whole session as a document, for `import/2`."
  @spec export(t, keyword) :: outcome
  def export(session, options \\ []) do
    with {:ok, %{"document" => document}} <- ask(session, "session.export", [], options), do: {:ok, document}
  end

  @doc "Opens a session from a document of `export/2`. Options: `:instance`, `:pool`, `:tenant`, `:timeout`, `:id`, `:strict`, `:idempotency_key`."
  @spec import(map, keyword) :: {:ok, t} | {:error, Error.t()}
  def import(document, options \\ []) do
    with :ok <- Check.all(options: options), :ok <- Check.all(id: options[:id]) do
      given = members(document: document, session: options[:id])
      opened(ref(options[:id] || "", options), "session.import", given, options)
    end
  end

  @doc "Puts off the session's end by idleness."
  @spec touch(t, keyword) :: outcome
  def touch(session, options \\ []), do: ask(session, "session.touch", [], options)

  @doc "Closes the session: its state is gone."
  @spec close(t, keyword) :: outcome
  def close(session, options \\ []) do
    with {:ok, result} <- ask(session, "session.close", [], options) do
      tell(session, :close)
      {:ok, result}
    end
  end

  @doc "The sessions of an instance and tenant. Options: `:instance`, `:pool`, `:tenant`, `:after`, `:limit`."
  @spec list(keyword) :: outcome
  def list(options \\ []) do
    with :ok <- Check.all(options: options),
         given = members(Keyword.take(options, [:after, :limit])),
         do: request(ref("", options), "session.list", given, options, nil)
  end

  defp opened(session, method, params, options) do
    with {:ok, %{"session" => id}, place} <- send_request(session, method, params, options, options[:id]) do
      session = %{session | id: id, bound: if(options[:strict] == true, do: place)}
      tell(session, :open)
      {:ok, session}
    end
  end

  defp tell(session, event) do
    metadata = session |> Map.take([:instance, :pool, :tenant]) |> Map.put(:strict, session.bound != nil)
    DSPex.Telemetry.execute([:dspex, :session, event], %{count: 1}, metadata)
  end

  defp bound(session) do
    own = session |> Map.take([:instance, :pool, :tenant, :bound]) |> Map.put(:session, session.id)
    for {_name, value} = option when value != nil <- own, do: option
  end

  # Members are given with their values, or are named after the options that have them.
  defp ask(session, method, given, options) do
    with :ok <- Check.all(session: session, options: options) do
      given = Enum.map(given, fn member -> if is_atom(member), do: {member, options[member]}, else: member end)
      request(session, method, [{"session", session.id} | members(given)], options, session.id)
    end
  end

  defp members(given), do: for({name, value} <- given, value != nil, do: {Atom.to_string(name), value})

  defp request(session, method, params, options, affinity) do
    with {:ok, result, _place} <- send_request(session, method, params, options, affinity), do: {:ok, result}
  end

  defp send_request(session, method, params, options, affinity) do
    meta = [{"tenant", session.tenant}, {"idempotency_key", options[:idempotency_key]}]

    request = [
      pool: session.pool,
      bound: session.bound,
      meta: meta,
      timeout: Keyword.get(options, :timeout, @timeout),
      affinity: affinity && {session.tenant, affinity},
      within?: true
    ]

    with :ok <- check(method, options),
         :ok <- Check.all(pool: session.pool),
         :ok <- Check.meta(tenant: session.tenant, idempotency_key: options[:idempotency_key]),
         {:ok, table} <- Instance.table(session.instance),
         {:ok, exchange} <- Exchange.new(table, method, params, request),
         {{:ok, result}, exchange} <- Exchange.call(exchange) do
      {:ok, DSPex.Ordered.plain(result), exchange.place}
    else
      {{:error, error}, _exchange} -> {:error, error}
      {:error, error} -> {:error, error}
    end
  end

  defp check(method, options) do
    known = Map.get(@own, method, []) ++ @common
    timeout = Keyword.get(options, :timeout, @timeout)

    cond do
      unknown = Enum.find(Keyword.keys(options), &(&1 not in known)) ->
        {:error, wrong("unknown option #{unknown} of #{method}; known are #{Enum.join(known, ", ")}")}

      timeout == :infinity or (is_integer(timeout) and timeout >= 0) ->
        :ok

      true ->
        {:error, wrong("timeout is #{inspect(timeout)}; it must be milliseconds or :infinity")}
    end
  end

  defp wrong(text), do: Error.argument(text)
end
