for {module, kind, options, doc} <- [
      {DSPex.Predict, "predict", [], "One LM call that fills the output fields."},
      {DSPex.ChainOfThought, "chain_of_thought", [], "As Predict, with a `reasoning` field before the outputs."},
      {DSPex.ReAct, "react", [:max_iters], "Reasons and calls `tools` until it can answer."},
      {DSPex.ProgramOfThought, "program_of_thought", [:max_iters],
       "Writes Python, runs it in a sandbox, and answers from its result."},
      {DSPex.CodeAct, "code_act", [:max_iters], "ReAct whose actions are Python code."},
      {DSPex.MultiChainComparison, "multi_chain_comparison", [:M],
       "Compares `M` attempts and answers from all of them."},
      {DSPex.RLM, "rlm", [:max_iters, :max_llm_calls, :max_output_chars],
       "Works through long inputs by code and sub-calls of the LM."},
      {DSPex.KNN, "knn", [:k, :dimensions, :embedder],
       "Gives the `k` of its `demos` that are nearest to the inputs, as the output `examples`."}
    ] do
  defmodule module do
    own = if options == [], do: "", else: ", and `:#{Enum.join(options, "`, `:")}`"

    @moduledoc """
    #{doc} The DSPy module `dspy.#{module |> Module.split() |> List.last()}`.
    """

    @doc """
    Makes the program. `signature` is a text like `"question -> answer: str"`, a `DSPex.Signature`, or a map of
    `proto/program.schema.json`.

    Options: those of `DSPex.Program.new/4`#{own}.

        iex> #{inspect(module)}.new("question -> answer").kind
        #{inspect(kind)}
    """
    @spec new(String.t() | map, keyword) :: DSPex.Program.t()
    def new(signature, options \\ []), do: DSPex.Program.new(unquote(kind), signature, options, unquote(options))
  end
end

defmodule DSPex.Chain do
  @moduledoc """
  Programs one after another: outputs feed the inputs of later steps by their names.
  """

  @doc """
  Makes the program of its steps.

      iex> steps = [DSPex.Predict.new("text -> summary"), DSPex.Predict.new("summary -> title")]
      iex> length(DSPex.Chain.new(steps).steps)
      2
  """
  @spec new([DSPex.Program.t()], keyword) :: DSPex.Program.t()
  def new(steps, options \\ []) do
    unless is_list(steps) and Enum.all?(steps, &is_struct(&1, DSPex.Program)),
      do: raise(ArgumentError, "chain: its steps are a list of programs, not #{DSPex.Check.shown(steps)}")

    DSPex.Program.new("chain", nil, [{:steps, steps} | DSPex.Program.keyword!("chain", options)])
  end
end

for {module, kind, options, doc} <- [
      {DSPex.BestOfN, "best_of_n", [:N, :threshold, :reward, :fail_count],
       "Runs a program up to `N` times and keeps the best by `reward`, the name of one of its `tools`."},
      {DSPex.Refine, "refine", [:N, :threshold, :reward, :fail_count],
       "As BestOfN, with advice from each attempt to the next."},
      {DSPex.Parallel, "parallel", [:num_threads, :max_errors],
       "Runs a program over several inputs at once: `items`, a list of its inputs."}
    ] do
  defmodule module do
    @moduledoc """
    #{doc} The DSPy module `dspy.#{module |> Module.split() |> List.last()}`.
    """

    @doc """
    Makes the program around another. Options: those of `DSPex.Program.new/4`, and `:#{Enum.join(options, "`, `:")}`.

        iex> #{inspect(module)}.new(DSPex.Predict.new("question -> answer")).kind
        #{inspect(kind)}
    """
    @spec new(DSPex.Program.t(), keyword) :: DSPex.Program.t()
    def new(program, options \\ []) do
      unless is_struct(program, DSPex.Program),
        do:
          raise(
            ArgumentError,
            "#{unquote(kind)}: its program is #{DSPex.Check.shown(program)}, not one made by DSPex.Predict.new/2"
          )

      options = DSPex.Program.keyword!(unquote(kind), options)
      DSPex.Program.new(unquote(kind), nil, [{:children, %{"program" => program}} | options], unquote(options))
    end
  end
end

defmodule DSPex.Custom do
  @moduledoc """
  A module of the worker's own, from its allow-list.
  """

  @doc """
  Makes the program by its import path.

      iex> DSPex.Custom.new("my_package.programs:Summarise").import
      "my_package.programs:Summarise"
  """
  @spec new(String.t(), keyword) :: DSPex.Program.t()
  def new(import, options \\ [])

  def new(import, options) when is_binary(import),
    do: DSPex.Program.new("custom", nil, [{:import, import} | DSPex.Program.keyword!("custom", options)])

  def new(import, _options),
    do:
      raise(
        ArgumentError,
        "custom: its import is a text like \"my_package.programs:Summarise\", not #{DSPex.Check.shown(import)}"
      )
end
